"""Why a rule did what it did, stage by stage; `loyalty.explain` puts it together."""
