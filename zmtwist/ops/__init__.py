"""The operators' side: the HTTP API, status page, media, metrics, MQTT, manhole, and `zmnextctl`."""
