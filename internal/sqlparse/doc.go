// Package sqlparse reads SQL text: a scanner, the folding of literals, and pg_query_go behind a gate.
//
// # Folding before parsing
//
// A parse in C costs as much as a whole pooled transaction. A Folder brings a text to its shape in one pass, without
// allocating: literals become placeholders, white space, comments and case are evened out, statements are told
// apart, routing hints are picked out of comments. Plans are cached by that shape, so only a new shape is parsed. The folded
// text, read token by token, is the text but for the values of lifted literals; therefore texts with the same folded
// text have the same tree but for those values, and a fuzz test holds it to that. A literal stays in the folded text where
// its value is part of the statement's form (ORDER BY 1, varchar(10), date '…', x::int[3]), wherever that is in doubt,
// and in every statement that is no SELECT, INSERT, UPDATE, DELETE, MERGE, VALUES, TABLE or WITH. A planner whose decision
// depends on a lifted literal asks for the shape with that literal kept: Folder.Keep.
//
// # The gate
//
// libpg_query has no guard on its stack, and a stack that overflows in C ends the process: tens of thousands of 1+1+…,
// casts or UNIONs were enough. Its scanner needs quadratic time for runs of operator characters, in comments
// too. So Parser reads every text itself first, in linear time, and passes on only what the C code was seen to survive
// on a quarter of the usual stack; comments reach it without their contents. Limits can be changed, but not beyond that. The number of
// calls into C at one time is bounded, because each takes a processor from the Go scheduler.
//
// Of pg_query_go only Parse is called. Normalize writes outside its memory on some utility statements (GHSA-6ggm-xmc9-8ffg, not
// fixed in this major version); Fingerprint and Deparse overflow the stack earlier than Parse does.
//
// # Splicing
//
// A statement that must differ from shard to shard is not written anew from its tree: deparsing loses comments, may
// change what it does not understand, and overflows. Instead ranges of the text are replaced, at locations of the tree (Splice,
// ExpressionEnd) or of the folded text (Folder.AppendText). Rows of a long INSERT are found by the scanner alone
// (SplitValues, Cells), so that the parser sees one of them.
//
// # What a text may be
//
// Text is UTF-8 without zero bytes; callers with another client encoding refuse or convert it before. Numbers and strings
// are read as PostgreSQL 16 reads them; Folder.NewNumbers tells of those that older servers read otherwise.
// standard_conforming_strings = off is handled throughout: callers pass backslashes = true.
//
// The package starts no goroutines and keeps no state but that of a Folder, for one goroutine, and a Parser, for all.
// It imports nothing of this module.
package sqlparse
