"""`parley up`: provisions a broker, runs every service, and stops them again without leaving a trace."""
