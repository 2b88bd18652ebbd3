"""Dated legal parameters as data: `parameters.yaml`. Read through `core_app/products/legal_parameters.py`."""
