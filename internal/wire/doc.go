// Package wire reads PostgreSQL's messages where speed does not matter: logins, the admin database, sessions of our own.
//
// A message is a type byte, a length that counts itself but not the type, and a body. Reader checks the length
// against a limit of the caller's before it makes room for the body, so that five bytes from somebody who has not logged
// in cannot make the process allocate a gigabyte. It takes no more bytes from its source than the message has, so
// that the connection can be handed to another reader between two messages; NewBufferedReader gives that up for fewer
// system calls.
//
// The package starts no goroutines, holds no state but a Reader's buffer, and imports nothing of this module. What passes
// between clients and servers does not come through here: it is framed in place by package pooler.
package wire
