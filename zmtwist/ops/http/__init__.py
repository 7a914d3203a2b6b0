"""HTTP under the API: requests and answers, who may ask, connections, and what one client may take."""
