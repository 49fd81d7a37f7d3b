"""The routes: captions in captune's format and in OpenAI's, models, health and metrics."""
