"""The probe: steps of a real training on made-up situations, in processes of their own, to see what memory they take."""
