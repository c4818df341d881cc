package auth

import (
	"sort"
	"strings"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// SASLprep prepares a password for SCRAM as PostgreSQL does (RFC 4013): some characters are dropped or
// become spaces, then comes NFKC. A password that is not UTF-8, or has characters that SASLprep does not
// allow, is used as it is, byte for byte; that too is what PostgreSQL does.
func SASLprep(password string) string {
	if isASCII(password) || !utf8.ValidString(password) {
		return password
	}
	var b strings.Builder
	b.Grow(len(password))
	for _, r := range password {
		switch {
		case prepSpace.has(r):
			b.WriteByte(' ')
		case prepNothing.has(r):
		default:
			b.WriteRune(r)
		}
	}
	if b.Len() == 0 {
		return password
	}
	// The RFC checks after the normalisation, PostgreSQL before it; its secrets are what counts.
	if !prepAllowed(b.String()) {
		return password
	}
	return norm.NFKC.String(b.String())
}

func isASCII(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] >= utf8.RuneSelf {
			return false
		}
	}
	return true
}

// prepAllowed checks for prohibited and unassigned characters, and that a string with characters that run
// from right to left has no others, and begins and ends with one (RFC 3454, section 6).
func prepAllowed(s string) bool {
	rtl, ltr := false, false
	for _, r := range s {
		if prepProhibited.has(r) || prepUnassigned.has(r) {
			return false
		}
		rtl = rtl || prepRandAL.has(r)
		ltr = ltr || prepL.has(r)
	}
	if !rtl {
		return true
	}
	first, _ := utf8.DecodeRuneInString(s)
	last, _ := utf8.DecodeLastRuneInString(s)
	return !ltr && prepRandAL.has(first) && prepRandAL.has(last)
}

func (t prepTable) has(r rune) bool {
	i := sort.Search(len(t)/2, func(i int) bool { return t[2*i+1] >= r })
	return 2*i < len(t) && t[2*i] <= r
}
