"""What ``import apm_tta`` offers, one file per idea; ``apm_tta`` itself names it and imports it at first use."""
