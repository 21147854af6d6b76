"""Ray Serve deployments of the detector."""
