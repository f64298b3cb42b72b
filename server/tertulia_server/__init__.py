"""How a host reaches Tertulia: settings, command line, transports, progress, approvals."""
