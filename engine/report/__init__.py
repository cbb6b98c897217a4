"""Pages for people: report.html, study.html, their blocks, charts, tables and templates."""
