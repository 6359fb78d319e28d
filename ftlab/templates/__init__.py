"""Built-in templates: partial job configs as YAML files, one for each purpose."""
