__import__("setuptools").setup()  # everything is in setup.cfg; this file is for old installers
