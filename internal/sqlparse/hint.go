package sqlparse

import "bytes"

// The names of the hints, in any case. Constant.
var shardName, keyName = []byte("shard"), []byte("shard_key")

// Hint is what the comments of one statement ask for: /* shard=b */ or /* shard_key=42 */. The zero value asks for
// nothing. Its slices are parts of the text.
type Hint struct {
	shard, key value
}

// value is the right side of a name=value pair as written.
type value struct {
	raw    []byte // nil: absent; otherwise without its quotes
	quoted bool   // '' stands for '
}

// Empty says that there is no hint.
func (h Hint) Empty() bool { return h.shard.raw == nil && h.key.raw == nil }

// Shard returns the shard's name as written; ok is false if none is asked for.
func (h Hint) Shard() (name string, ok bool) { return h.shard.String(), h.shard.raw != nil }

// Key returns the value of the sharding key, in its type's text form; ok is false if none is given.
func (h Hint) Key() (key string, ok bool) { return h.key.String(), h.key.raw != nil }

// Equal says whether two hints ask for the same.
func (h Hint) Equal(o Hint) bool { return h.shard.equal(o.shard) && h.key.equal(o.key) }

func (v value) String() string {
	if v.quoted {
		return string(bytes.ReplaceAll(v.raw, []byte("''"), []byte("'")))
	}
	return string(v.raw)
}

func (v value) equal(o value) bool {
	if (v.raw == nil) != (o.raw == nil) {
		return false
	}
	if v.quoted == o.quoted {
		return bytes.Equal(v.raw, o.raw)
	}
	return v.String() == o.String()
}

// add reads the comment text[start:end] into h. Only a comment that consists of name=value pairs, separated by white
// space or commas, is a hint, as sqlcommenter writes them; pairs with other names are not ours. A comment that
// is no such list but has shard= or shard_key= in it is an error rather than prose: the statement would silently go
// elsewhere.
func (h *Hint) add(text []byte, start, end int) error {
	comment := text[start:end]
	if !mentionsHint(comment, true) {
		return nil
	}
	body := comment[2:]
	if comment[0] == '/' {
		body = body[:len(body)-2]
	}
	var found Hint
	problem, isList := found.parse(body)
	if !isList {
		if !mentionsHint(body, false) {
			return nil
		}
		problem = "malformed routing hint"
	}
	if problem == "" {
		problem = h.merge(found)
	}
	if problem == "" {
		return nil
	}
	if len(comment) > maxNear {
		comment = comment[:maxNear]
	}
	return &HintError{
		Message:  problem,
		Detail:   "The comment is: " + string(bytes.ToValidUTF8(comment, []byte("?"))),
		Position: CharPosition(text, start),
	}
}

func (h *Hint) merge(o Hint) (problem string) {
	for _, p := range []struct{ have, new *value }{{&h.shard, &o.shard}, {&h.key, &o.key}} {
		switch {
		case p.new.raw == nil:
		case p.have.raw == nil:
			*p.have = *p.new
		case !p.have.equal(*p.new):
			return "contradicting routing hints in one statement"
		}
	}
	return ""
}

// parse reads a list of pairs; isList is false if body is none.
func (h *Hint) parse(body []byte) (problem string, isList bool) {
	pairs := 0
	for i := 0; ; pairs++ {
		for i < len(body) && (body[i] == ',' || byteClass[body[i]] == byteSpace) {
			i++
		}
		if i == len(body) {
			return problem, pairs > 0
		}
		start := i
		for i < len(body) && (identByte[body[i]] || body[i] == '.' || body[i] == '-') {
			i++
		}
		name := body[start:i]
		i = skipSpace(body, i)
		if len(name) == 0 || i == len(body) || body[i] != '=' {
			return "", false
		}
		v, end := readValue(body, skipSpace(body, i+1))
		if end < 0 {
			return "", false
		}
		i = end
		var one Hint
		switch {
		case bytes.EqualFold(name, shardName):
			one.shard = v
		case bytes.EqualFold(name, keyName):
			one.key = v
		default:
			continue
		}
		switch {
		case problem != "":
		case len(v.raw) == 0 && !v.quoted:
			return "", false
		case len(v.raw) == 0 && one.shard.raw != nil:
			problem = "routing hint without a value"
		case v.quoted && bytes.ContainsAny(v.raw, `%\`):
			// sqlcommenter would mean an escape, everybody else the character itself.
			problem = `routing hint with % or \ in its value, which can be read in two ways`
		default:
			problem = h.merge(one)
		}
	}
}

func skipSpace(body []byte, i int) int {
	for i < len(body) && byteClass[body[i]] == byteSpace {
		i++
	}
	return i
}

// readValue reads 'quoted' or bare at i; end is -1 if there is no value.
func readValue(body []byte, i int) (v value, end int) {
	if i < len(body) && body[i] == '\'' {
		start := i + 1
		for i = start; i < len(body); i++ {
			if body[i] != '\'' {
				continue
			}
			if i+1 < len(body) && body[i+1] == '\'' {
				i++
				continue
			}
			return value{body[start:i], true}, i + 1
		}
		return value{}, -1
	}
	start := i
	for i < len(body) && body[i] != ',' && body[i] != '=' && body[i] != '\'' && body[i] != '"' && byteClass[body[i]] != byteSpace {
		i++
	}
	if i == start {
		return value{}, -1
	}
	return value{body[start:i], false}, i
}

// mentionsHint says whether shard= or shard_key= occurs, with white space before the = if spaces is set.
func mentionsHint(body []byte, spaces bool) bool {
	for i, c := range body {
		if c != '=' {
			continue
		}
		end := i
		for spaces && end > 0 && byteClass[body[end-1]] == byteSpace {
			end--
		}
		start := end
		for start > 0 && identByte[body[start-1]] {
			start--
		}
		if start > 0 && body[start-1] == '.' {
			continue
		}
		if name := body[start:end]; bytes.EqualFold(name, shardName) || bytes.EqualFold(name, keyName) {
			return true
		}
	}
	return false
}
