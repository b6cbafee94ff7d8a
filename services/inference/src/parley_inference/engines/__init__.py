"""One file per engine; only these import vendor libraries."""
