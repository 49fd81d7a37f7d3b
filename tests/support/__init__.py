"""What several tests share: servers, small models, recipes, runs."""
