"""An auditor's pages: what was recorded, and what of it is proved while it is shown. Nothing here changes anything."""
