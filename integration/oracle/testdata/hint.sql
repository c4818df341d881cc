-- A hint that cannot be followed was an error before the statement's own syntax error.
--: answered
/* shard_key=12 */ SELECT d1.owner AS c1 FROM public.notes AS d1 WHERE d1.owner = '12' AND d1.body BETWEEN 'a' COLLATE "C" AND $q$yy$q$
