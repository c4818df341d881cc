package pooler

import "bytes"

// effect is what a text may do to its session beyond its transaction. Statements of which the protocol shows enough, by
// their command tag, are not among them.
type effect uint8

const (
	setsParameter effect = 1 << iota // it calls set_config
	keepsState                       // temporary objects, advisory locks, cursors WITH HOLD, PREPARE: see pin.go
	resets                           // RESET, SET … TO DEFAULT, DISCARD: see restore.go
	listening                        // LISTEN, UNLISTEN: see listen.go
	notifies                         // NOTIFY, pg_notify: a transaction that cannot be prepared
	drops                            // DEALLOCATE, DISCARD: see drops.go
	sets                             // SET, RESET, DISCARD, and what may contain them unseen: see meaning
)

// effects is what is known of a text.
type effects struct {
	effect
	resets *[]reset // in order; nil without any
}

// effectsOf looks at a text, of which a part may be missing at the end. Most statements are done with after a few comparisons;
// what looks as if it mattered may still turn out not to, which costs a question to the server. first is its first word.
func effectsOf(text []byte, first uint64, whole bool) effects {
	fx := effects{effect: quickEffects(text, first)}
	var rs []reset
	if fx.effect&resets != 0 {
		rs = findResets(text)
	}
	if fx.effect&drops != 0 && !dropsStatements(text) {
		fx.effect &^= drops
	}
	if !whole {
		fx.effect |= setsParameter | keepsState | sets
		switch first {
		case wordSelect, wordWith, wordInsert, wordUpdate, wordDelete:
		default: // a script
			fx.effect |= listening
			rs = append(rs, reset{})
		}
	}
	fx.effect &^= resets
	if len(rs) > 0 {
		found := rs // only this one is on the heap
		fx.effect |= resets
		fx.resets = &found
	}
	return fx
}

// effectsOfBody is effectsOf for the body of a Parse.
func effectsOfBody(body []byte) effects {
	if i := bytes.IndexByte(body, 0); i >= 0 {
		body = body[:i]
	}
	return effectsOf(body, firstWord(body), true)
}

// quickEffects decides by the first word which texts need to be looked at word by word.
func quickEffects(text []byte, first uint64) effect {
	into := false
	switch first {
	case wordSelect, wordWith:
		into = true
	case wordInsert, wordUpdate, wordDelete, wordBegin, wordCommit, wordRollback, wordEnd:
	default:
		return wordEffects(text)
	}
	if i := bytes.IndexByte(text, ';'); i >= 0 && len(bytes.TrimRight(text[i+1:], " \t\r\n;")) > 0 {
		return wordEffects(text) // there may be other statements behind it
	}
	var e effect
	for off := 0; ; {
		i := bytes.IndexByte(text[off:], '_')
		if i < 0 {
			break
		}
		i += off
		switch off = i + 1; {
		case hasSuffixFold(text[:i], "set") && hasPrefixFold(text[i+1:], "config"):
			e |= setsParameter
		case hasSuffixFold(text[:i], "advisory") && hasPrefixFold(text[i+1:], "lock"), hasSuffixFold(text[:i], "pg") && hasPrefixFold(text[i+1:], "temp"):
			e |= keepsState
		case hasPrefixFold(text[i+1:], "notify") && hasSuffixFold(text[:i], "pg"):
			e |= notifies
		}
	}
	if into && mentionsTemp(text) {
		e |= keepsState
	}
	return e
}

// Words of statements, as firstWord returns them.
const (
	wordSelect   = 'S'<<40 | 'E'<<32 | 'L'<<24 | 'E'<<16 | 'C'<<8 | 'T'
	wordInsert   = 'I'<<40 | 'N'<<32 | 'S'<<24 | 'E'<<16 | 'R'<<8 | 'T'
	wordUpdate   = 'U'<<40 | 'P'<<32 | 'D'<<24 | 'A'<<16 | 'T'<<8 | 'E'
	wordDelete   = 'D'<<40 | 'E'<<32 | 'L'<<24 | 'E'<<16 | 'T'<<8 | 'E'
	wordCommit   = 'C'<<40 | 'O'<<32 | 'M'<<24 | 'M'<<16 | 'I'<<8 | 'T'
	wordRollback = 'R'<<56 | 'O'<<48 | 'L'<<40 | 'L'<<32 | 'B'<<24 | 'A'<<16 | 'C'<<8 | 'K'
	wordBegin    = 'B'<<32 | 'E'<<24 | 'G'<<16 | 'I'<<8 | 'N'
	wordMerge    = 'M'<<32 | 'E'<<24 | 'R'<<16 | 'G'<<8 | 'E'
	wordValues   = 'V'<<40 | 'A'<<32 | 'L'<<24 | 'U'<<16 | 'E'<<8 | 'S'
	wordTable    = 'T'<<32 | 'A'<<24 | 'B'<<16 | 'L'<<8 | 'E'
	wordWith     = 'W'<<24 | 'I'<<16 | 'T'<<8 | 'H'
	wordEnd      = 'E'<<16 | 'N'<<8 | 'D'
)

// firstWord packs the first eight letters of a text's first word into a number; 0 if it begins with something else.
func firstWord(text []byte) uint64 {
	var w uint64
	n := 0
	for _, ch := range text {
		up := ch &^ 0x20
		if up < 'A' || up > 'Z' {
			if n > 0 || ch > ' ' {
				break
			}
			continue
		}
		w = w<<8 | uint64(up)
		if n++; n == 8 {
			break
		}
	}
	return w
}

// mentionsTemp reports whether text has TEMP in it. It looks for the last of its letters, which is the rarest.
func mentionsTemp(text []byte) bool { return tempAt(text, 'p') || tempAt(text, 'P') }

func tempAt(text []byte, last byte) bool {
	for off := 0; ; {
		i := bytes.IndexByte(text[off:], last)
		if i < 0 {
			return false
		}
		i += off
		if i >= 3 && text[i-1]|0x20 == 'm' && hasSuffixFold(text[:i-1], "te") {
			return true
		}
		off = i + 1
	}
}

// hasSuffixFold and hasPrefixFold compare without case; s is in lower case.
func hasSuffixFold(b []byte, s string) bool {
	return len(b) >= len(s) && hasPrefixFold(b[len(b)-len(s):], s)
}

func hasPrefixFold(b []byte, s string) bool {
	if len(b) < len(s) {
		return false
	}
	for i := range len(s) {
		if ch := b[i]; ch != s[i] && (ch < 'A' || ch > 'Z' || ch|0x20 != s[i]) {
			return false
		}
	}
	return true
}

// wordEffects looks at every word, also of comments, strings and bodies of functions.
func wordEffects(text []byte) effect {
	var e effect
	var buf [32]byte
	for i := 0; i < len(text); i++ {
		n := 0
		for ; i < len(text) && isWordByte(text[i]); i++ {
			if n < len(buf) {
				buf[n] = text[i]
				if ch := text[i]; ch >= 'A' && ch <= 'Z' {
					buf[n] |= 0x20
				}
			}
			n++
		}
		if n < len("do") || n > len(buf) {
			continue
		}
		switch string(buf[:n]) {
		case "set", "do", "call", "execute":
			e |= sets
		case "set_config":
			e |= setsParameter
		case "temp", "temporary", "pg_temp", "hold", "prepare",
			"pg_advisory_lock", "pg_advisory_lock_shared", "pg_try_advisory_lock", "pg_try_advisory_lock_shared":
			e |= keepsState
		case "reset":
			e |= resets | sets
		case "default", "local":
			e |= resets
		case "discard":
			e |= resets | drops | sets
		case "deallocate":
			e |= drops
		case "listen", "unlisten":
			e |= listening
		case "notify", "pg_notify":
			e |= notifies
		}
	}
	return e
}

func isWordByte(ch byte) bool {
	return ch >= 'a' && ch <= 'z' || ch >= 'A' && ch <= 'Z' || ch >= '0' && ch <= '9' || ch == '_' || ch >= 0x80 || ch == '$'
}
