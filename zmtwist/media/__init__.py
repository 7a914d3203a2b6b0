"""Child processes that read media for the service: how one is asked, and the program that it runs."""
