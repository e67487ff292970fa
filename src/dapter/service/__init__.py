"""The service: frozen classifiers, the wire they are reached over, its server, client and gateway."""
