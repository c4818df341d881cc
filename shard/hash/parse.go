package hash

import (
	"errors"
	"fmt"
	"unsafe"
)

var (
	// ErrDepends says that what a text means depends on settings, on the server's version or on the moment, or that it
	// is not surely read here as PostgreSQL reads it: nothing may be routed by it.
	ErrDepends = errors.New("the value depends on the server's settings or version")

	// ErrInvalid says that every server rejects the value, which one of them should be asked to do.
	ErrInvalid = errors.New("invalid value")
)

// ParseText reads a value in the text format of the wire, which is also what a quoted literal and a field of COPY
// hold. The bytes must be in the server's encoding; of text types the Value shares them. Errors are ErrDepends and
// ErrInvalid, wrapped.
func (t *Type) ParseText(s []byte) (Value, error) { return t.ParseString(share(s)) }

// ParseString is ParseText of a string.
func (t *Type) ParseString(s string) (Value, error) {
	v, err := t.text(s)
	if err != nil {
		return Value{}, t.wrap(err, s)
	}
	return v, nil
}

// ParseBinary reads a value in the binary format of the wire. Of text types and bytea the Value shares the bytes. The
// errors are those of ParseText.
func (t *Type) ParseBinary(b []byte) (Value, error) {
	v, err := t.binary(share(b))
	if err != nil {
		return Value{}, fmt.Errorf("%d bytes in binary format for type %s: %w", len(b), t.Name, err)
	}
	return v, nil
}

// wrap tells which text it was, as far as it fits a message.
func (t *Type) wrap(err error, s string) error {
	const most = 60
	if len(s) > most {
		return fmt.Errorf("%.*q… for type %s: %w", most, s, t.Name, err)
	}
	return fmt.Errorf("%q for type %s: %w", s, t.Name, err)
}

// share returns the bytes as a string without copying them; that is why a Value lives no longer than they do.
func share(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }

// syntax returns the error for a text that the rules for plain ASCII reject. What lies outside of ASCII may be
// a blank in the server's locale.
func syntax(s string) error {
	for i := range len(s) {
		if s[i] >= 0x80 {
			return ErrDepends
		}
	}
	return ErrInvalid
}

// trim takes away what isspace calls blanks, at both ends.
func trim(s string) string {
	for len(s) > 0 && isBlank(s[0]) {
		s = s[1:]
	}
	for len(s) > 0 && isBlank(s[len(s)-1]) {
		s = s[:len(s)-1]
	}
	return s
}

func isBlank(c byte) bool { return c == ' ' || c >= '\t' && c <= '\r' }

func isDigit(c byte) bool { return c-'0' < 10 }

// versioned reports whether a number is written as only PostgreSQL 16 and later read it: 0x1F, 0o17, 0b1, 1_000.
func versioned(s string) bool {
	for i := range len(s) {
		if s[i] == '_' {
			return true
		}
	}
	if len(s) > 0 && (s[0] == '-' || s[0] == '+') {
		s = s[1:]
	}
	return len(s) > 1 && s[0] == '0' && !isDigit(s[1]) && s[1]|0x20 >= 'a' && s[1]|0x20 <= 'z' && s[1]|0x20 != 'e'
}

// lower returns a byte of ASCII in lower case.
func lower(c byte) byte {
	if c >= 'A' && c <= 'Z' {
		return c | 0x20
	}
	return c
}

// hasPrefixFold reports whether s begins with prefix, which is in lower case, whatever the case in s.
func hasPrefixFold(s, prefix string) bool {
	if len(s) < len(prefix) {
		return false
	}
	for i := range len(prefix) {
		if lower(s[i]) != prefix[i] {
			return false
		}
	}
	return true
}

// hexDigit returns the value of a hexadecimal digit, or a number above 15.
func hexDigit(c byte) byte {
	switch {
	case c >= '0' && c <= '9':
		return c - '0'
	case c >= 'a' && c <= 'f':
		return c - 'a' + 10
	case c >= 'A' && c <= 'F':
		return c - 'A' + 10
	}
	return 0xff
}
