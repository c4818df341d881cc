package shard

import (
	"errors"
	"strings"

	"pgdrover/internal/sqlparse"
)

// hinted returns the shard that hints name, -1 if there is none. A comment goes before SET LOCAL, that before SET: the session has
// settled the latter two in env.
func (db *DB) hinted(env *Env, comment sqlparse.Hint, sh *shape) (int, error) {
	h := env.Hint
	if !comment.Empty() {
		h = Hint{}
		h.Shard, _ = comment.Shard()
		h.Key, h.HasKey = comment.Key()
	}
	at := -1
	if h.Shard != "" {
		n, ok := db.m.ShardIndex(h.Shard)
		if !ok {
			return -1, refuse(RefuseHint, "there is no shard \""+h.Shard+"\"")
		}
		at = n
	}
	if !h.HasKey {
		return at, nil
	}
	n, err := db.hintedKey(h, sh)
	if err != nil {
		return -1, err
	}
	if at >= 0 && at != n {
		return -1, refuse(RefuseHint, "the hints name shard \""+h.Shard+"\" and a key of shard \""+db.m.Shards()[n]+"\"")
	}
	return n, nil
}

// hintedKey locates a key that a hint gives in text form; the columns of a composite key are separated by commas.
func (db *DB) hintedKey(h Hint, sh *shape) (int, error) {
	var key *Key
	keys := db.m.Keys()
	switch {
	case h.KeyName != "":
		if key = db.m.Key(h.KeyName); key == nil {
			return -1, refuse(RefuseHint, "there is no sharding key \""+h.KeyName+"\"")
		}
	case len(keys) == 1:
		key = keys[0]
	default:
		if key = sh.onlyKey(); key == nil {
			return -1, refuse(RefuseHint, "it is not clear which sharding key shard_key means")
		}
	}
	texts := []string{h.Key}
	if len(key.Types) > 1 {
		texts = strings.Split(h.Key, ",")
	}
	n, ok, err := key.LocateText(texts...)
	switch {
	case err != nil:
		return -1, refuse(RefuseHint, "shard_key of key \""+key.Name+"\": "+err.Error())
	case !ok:
		return -1, refuse(RefuseHint, "no shard is placed for the key "+h.Key)
	}
	return n, nil
}

// onlyKey returns the key of the statement's tables if they all have the same.
func (sh *shape) onlyKey() *Key {
	var key *Key
	for i := range sh.rels {
		if key != nil && key != sh.rels[i].table.Key {
			return nil
		}
		key = sh.rels[i].table.Key
	}
	for i := range sh.inserts {
		if key != nil && key != sh.inserts[i].table.Key {
			return nil
		}
		key = sh.inserts[i].table.Key
	}
	return key
}

// hint applies hints to what planning said: a statement that is pinned already must agree, anything else goes unchanged to the shard
// that is named.
func (db *DB) hint(env *Env, comment sqlparse.Hint, sh *shape, plan Plan, err error) (Plan, error) {
	at, herr := db.hinted(env, comment, sh)
	switch {
	case err == nil && plan.Control == CommitPrepared && herr == nil && at >= 0:
		return forwardTo(plan, at), nil
	case err == nil && (plan.Kind == Command):
		return plan, nil // what the session does itself
	case herr != nil && IsSyntax(err):
		return Plan{}, err // which a server words
	case herr != nil:
		return Plan{}, herr
	case at < 0:
		return plan, err
	case err != nil:
		if sh.err == nil && sh.plan.Kind == Command {
			return plan, err
		}
		forward := sh.plan
		return forwardTo(forward, at), nil
	}
	conflict := func() (Plan, error) { return Plan{}, refuse(RefuseHintConflict, "\""+db.m.Shards()[at]+"\"") }
	if plan.Kind == Explain && plan.Inner != nil {
		inner, err := db.hint(env, comment, sh, *plan.Inner, nil)
		if err == nil {
			plan.explains(&inner)
		}
		return plan, err
	}
	switch plan.Kind {
	case Forward:
		if plan.Shard != at && sh.anchored {
			return conflict()
		}
	case Gather:
		has := false
		for _, p := range plan.Parts {
			has = has || p.Shard == at
		}
		if !has {
			return conflict()
		}
	case Split, MoveRow, NextID:
		return conflict()
	}
	return forwardTo(plan, at), nil
}

// IsSyntax reports whether err says that the router cannot read a text.
func IsSyntax(err error) bool {
	var e *Error
	return errors.As(err, &e) && e.Construct == RefuseSyntax
}

// forwardTo sends a statement unchanged to one shard.
func forwardTo(plan Plan, shard int) Plan {
	return Plan{
		Kind: Forward, Tier: 1, Shard: shard, Limit: -1, Name: plan.Name, NoTx: plan.NoTx, DDL: plan.DDL, Writes: plan.Writes, Rows: plan.Rows, Key: "hint",
	}
}
