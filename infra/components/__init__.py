"""One file a stack: what it creates in the cloud, from a checked topology. No decisions are made here."""
