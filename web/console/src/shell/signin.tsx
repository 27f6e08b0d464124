import { useState } from 'preact/hooks';
import { signIn } from '../data/client';
import { t } from '../i18n';
import { Button, describedBy, Field, Mark } from '../ui';

/** Asks for the access token. The view behind it starts afresh afterwards. */
export function SignIn() {
  const [token, setToken] = useState('');
  const [problem, setProblem] = useState('');
  const [isBusy, setBusy] = useState(false);
  const submit = async (event: Event) => {
    event.preventDefault();
    setBusy(true);
    setProblem(await signIn(token));
    setBusy(false);
  };
  return (
    <form class="sign-in panel stack" onSubmit={submit}>
      <span class="sign-in-mark">
        <Mark size={28} />
      </span>
      <div>
        <h1>{t('signin.title')}</h1>
        <p class="soft">{t('signin.text')}</p>
      </div>
      <Field id="token" label={t('signin.token')} problem={problem}>
        <input
          {...describedBy('token', '', problem)}
          class="input"
          type="password"
          autocomplete="current-password"
          autofocus
          value={token}
          onInput={(event) => setToken(event.currentTarget.value)}
        />
      </Field>
      <Button look="primary" type="submit" busy={isBusy}>
        {t('signin.submit')}
      </Button>
    </form>
  );
}
