"""python -m pipeline.promote: register the best model of a sweep as the champion."""

from pipeline.serving.command import main

if __name__ == "__main__":
    main()
