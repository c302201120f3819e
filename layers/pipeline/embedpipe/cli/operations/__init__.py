"""The operator's verbs: look at the pipeline of all tenants, hold it, repair it, clean it up."""
