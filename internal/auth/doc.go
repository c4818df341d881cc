// Package auth proves who somebody is: clients to us, and us to PostgreSQL.
//
// It owns the secrets and what is computed from them ([Secret], [Hasher]), the server's half of a login
// ([Verifier]), the client's half ([Login]), pg_hba.conf ([HBA]), pg_ident.conf ([Ident]) and the
// credentials of Unix socket peers ([PeerCredentials]). It does no socket I/O of its own except for asking
// the kernel about a peer: messages travel through [Messenger] or through the caller of [Login.Answer].
//
// Invariants:
//
//   - A user that does not exist takes the same steps, with the same salt each time, as one that exists and
//     gave a wrong password. The salts of made-up secrets and of secrets made on the fly from plain passwords
//     come from one function of the user's name, so that creating a user changes nothing that can be seen.
//   - Secrets are compared in constant time. A message for a client never says why a login failed; that
//     is in [Error.Detail], for the log.
//   - PBKDF2 runs only inside a [Hasher], which bounds how many run at once, so that a storm of logins
//     leaves processors for queries, and remembers results, so that a second login costs microseconds.
//   - A line of pg_hba.conf that cannot be understood makes the whole file an error. (PgBouncer logs and skips
//     such a line, which turns a mistyped reject into an open door.)
//
// Why our own SCRAM: the keys of a proof must be taken out (SCRAM pass-through), put in again (a server login
// without a password), made up (unknown users) and cached; libraries hide them.
//
// The package starts no goroutines that outlive a call.
package auth
