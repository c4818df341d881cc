// Package connect opens authenticated connections to PostgreSQL servers, builds TLS configurations for both
// sides, and resolves host names.
//
// A [Server] is handed over exactly behind the first ReadyForQuery: not one byte more was read from the socket,
// so that the pooler may go on with the raw descriptor. A server that says more than a login needs, says it
// wrongly, or says nothing is an [Error], within the context's deadline and bounded memory; a server that refuses
// the login is a [ServerError], which carries the server's own message so that it can be passed on to clients.
//
// Protocol 3.2 is asked for. Servers before PostgreSQL 18 negotiate it down to 3.0; peers that refuse it, or
// hang up on it, are asked again with 3.0.
//
// The package must not import the pooler. Goroutines: [Dial] and [Server.Cancel] leave none behind; a [Resolver]
// has one per lookup in flight, each of which ends within its timeout.
package connect
