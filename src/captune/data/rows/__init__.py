"""From the rows of a file to records: columns, filters, split lists, and the image that a name means."""
