"""What runs at a data site, as typed Kubernetes resources: the same for the data centre and the cloud.

Start reading at `build.py`. Secrets are named, never made: no key passes through the program or its state.
"""
