"""python -m pipeline.report: write the report of a sweep."""

from pipeline.report.report import main

if __name__ == "__main__":
    main()
