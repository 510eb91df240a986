"""The command `adaptconv`. Installed as the package `adaptconv_cli`; nothing in `lit_adaptconv` imports it."""
