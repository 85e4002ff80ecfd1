"""The cases of the Autobahn testsuite, played by a client of our own: the suite needs Python 2."""
