"""From the rows of a file to records: columns, filters, split lists, image names."""
