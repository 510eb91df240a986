"""The configurations that come with lit-adaptconv, installed as `adaptconv_configs`; `adaptconv configs` lists them."""
