"""Raw dataset -> packed arrays -> batches on the device."""
