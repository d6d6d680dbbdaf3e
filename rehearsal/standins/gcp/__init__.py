"""Google Cloud as far as the rehearsed cloud models it: one module per service family."""
