"""`python -m domainclip` is `domainclip`."""

from domainclip.cli import main

if __name__ == "__main__":
    main()
