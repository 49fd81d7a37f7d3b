"""The routes: captions in captune's own form and in OpenAI's, models, health, metrics."""
