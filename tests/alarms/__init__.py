"""Every alarm of template.yaml, provoked: `make alarms`."""
