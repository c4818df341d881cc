// Package app runs the program: it puts configuration, log, pooler and admin database together, and deals with what
// the operating system wants of a daemon (signals, PID file, background, systemd). Run returns when the process is
// to end; it starts one goroutine for signals and one for the file watch, and ends both.
package app
