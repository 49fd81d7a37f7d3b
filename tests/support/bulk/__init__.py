"""What tests of bulk captioning share: a stub captioner, kills at chosen points, hostile images."""
