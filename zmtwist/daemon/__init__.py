"""The process as a service manager and signals meet it: sd_notify, SIGHUP, and a service that is switched off."""
