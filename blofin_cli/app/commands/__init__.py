"""One file per subject; every module here is loaded by the catalog."""
