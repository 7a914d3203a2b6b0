"""What happens, told to an MQTT broker: for Home Assistant and other automation. Optional (`[mqtt] url`), and off the ingest path."""
