"""`python -m jaxred` is the command `jaxred`."""

from jaxred.cli.command import main

if __name__ == "__main__":
    main()
