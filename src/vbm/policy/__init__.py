"""Pure rules, free of input and output: what to keep, when to run, which VMs."""
