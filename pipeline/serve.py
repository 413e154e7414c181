"""python -m pipeline.serve: answer predictions of the champion over HTTP."""

from pipeline.serving.server import main

if __name__ == "__main__":
    main()
