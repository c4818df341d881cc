// Package copyrows reads the data of COPY FROM STDIN row by row without decoding it, and puts the data of COPY TO STDOUT of several servers
// together as one stream.
//
// A row that is copied into a sharded table is sent to its shard as the client wrote it. All that has to be known about it is where it
// ends and what its sharding key is. Where PostgreSQL (copyfromparse.c, versions 14 to 18) takes a byte for the end of a row, a delimiter, an escape, a NULL or the end
// of the data, so does this package; what it rejects is rejected with its SQLSTATE, words and line number.
//
//	r, err := copyrows.New(copyrows.Format{Kind: copyrows.CSV, Header: true, Version: 16}, []string{"id", "name"}, []int{0})
//	for each CopyData: err = r.Feed(payload, func(raw []byte, key []copyrows.Field) error { … })
//	at CopyDone: err = r.End(…)
//
// Each server that gets rows is sent Header first and Trailer last.
//
// # What is left to the servers
//
// Values are not decoded: that a number is no number, a text not in its encoding, or a header not the one that HEADER MATCH asks for
// is found by the server that gets the row. A row that every server rejects may therefore be handed to the caller as a good one, with
// any key; a row that a server accepts never is handed over with another key than the server reads. Since a server's error may concern an earlier row
// than an [Error] of the reader, the caller who stops for the latter should prefer an error that a server has already raised.
//
// # Refused
//
// Text in encodings where an ASCII byte can be the second half of a character (BIG5, GB18030, GBK, JOHAB, SHIFT_JIS_2004, SJIS, UHC):
// [ErrEncoding]. Quote and escape characters that are line ends, a backslash as the quote, and delimiters beyond ASCII, of which PostgreSQL reads some
// differently from one buffer to the next: [ErrOption].
//
// # Invariants
//
// However the data is cut into calls of Feed, the rows are the same. Memory is bounded by the longest row, which Format.MaxRow limits. Rows that lie
// whole in one payload are not copied, and nothing is allocated per row.
//
// The package starts no goroutines, keeps no state of its own and imports nothing of this module. A [Reader] or [Merger] belongs to one
// goroutine at a time.
package copyrows
